# The BIDS App: docker run IMAGE BIDS_DIR OUT_DIR participant --card SITE.prism ...  (docs/bids-app.md)
FROM python:3.11-slim

WORKDIR /opt/prism-mri
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY src src
# The CPU build of torch first, so that nothing brings the libraries of a GPU.
RUN pip install --no-cache-dir -c constraints.txt --index-url https://download.pytorch.org/whl/cpu torch \
    && pip install --no-cache-dir -c constraints.txt . \
    && pip install --no-cache-dir bids-validator-deno

ENV OMP_NUM_THREADS=1 MPLCONFIGDIR=/tmp PYTHONUNBUFFERED=1
ENTRYPOINT ["prism-mri", "bids"]
