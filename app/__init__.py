"""The Streamlit application and the `fedpet` command."""
