"""The federation on Fed-BioMed: node data, plan, researcher, evaluation, export to a bundle."""
