"""From a folder, an archive or an address to images with their classes and parts."""
