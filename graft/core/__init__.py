"""What everything else stands on: errors, files, threads, paths. It knows nothing of images or networks."""
