"""The catalog: stored images and tables of a folder, their versions, and what contains them."""
