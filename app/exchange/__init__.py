"""Studies that come from a PACS or a folder and results that go back."""
