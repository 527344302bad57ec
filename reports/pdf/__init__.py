"""The PDF report of a tumour board."""
