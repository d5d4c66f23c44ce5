"""The artifact store: files written whole, sealed by a digest, compared and kept between runs."""
