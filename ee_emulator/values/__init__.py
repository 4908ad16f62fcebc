"""Earth Engine's values: images, collections, geometries, dates, projections, reducers and the like.

They know nothing of requests, of stored assets or of the algorithms that make them.
"""
