"""The simulated body in voxels: outline, bones, organs, tissues, lesions."""
