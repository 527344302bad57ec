"""The image viewer: a Streamlit component on 2D canvases, and the volumes it reads."""
