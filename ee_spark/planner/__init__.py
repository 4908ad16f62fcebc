"""What a job asks for: images × tiles, decided before any pixel is fetched."""
