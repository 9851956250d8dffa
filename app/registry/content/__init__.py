"""Reading and writing the content of one repository: manifests, configs, blobs and referrers."""
