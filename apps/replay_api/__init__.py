"""A stand-in for Open-Meteo and Data USA where there is no internet: the same shapes, and weather by formula."""
