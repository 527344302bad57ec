"""Bodies that vary as people do: organs deformed one by one, present or absent, and named voxel by voxel."""
