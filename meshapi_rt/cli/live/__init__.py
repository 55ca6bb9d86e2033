"""``meshapi-rt talk --live``: a spoken conversation in the terminal."""
