"""The coordinating centre: what is trained, with whom, the researcher's process, and who watches."""
