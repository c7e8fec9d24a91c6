//! Our objects as YAML files: one folder, any number of files, any number of documents in each.
