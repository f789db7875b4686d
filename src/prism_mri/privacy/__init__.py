"""What a card gives away of the people that it comes from; see `prism_mri.privacy.audit`."""
