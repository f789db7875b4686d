"""The paper's experiments on anyone's sites; see `prism_mri.evaluate.paper.run`."""
