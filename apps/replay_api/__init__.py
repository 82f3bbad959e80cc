"""A stand-in for Open-Meteo, Data USA and Wikimedia where there is no internet: the same shapes, data by formula."""
