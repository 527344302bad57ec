"""Evaluation of a federated method against pooled, local and clinical models on one machine."""
