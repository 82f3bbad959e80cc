"""A stand-in for Open-Meteo where there is no internet: the same shapes and checks, weather by formula."""
