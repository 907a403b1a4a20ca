"""Data sets from elsewhere: fetched to files of the cache that are named by their content.

addresses  which addresses may be connected to, held at the connection itself
lengths    no body goes on after the length that its server stated
http       one URL → one file, resumed where it broke off, one clear error for each failure
failures   those errors; progress: how far it is
store      URL → the file that was fetched, and whether the remote one has changed since
s3, hub    objects of S3-compatible stores; data sets of the Hugging Face hub
fetch      a reference of any kind → the file or folder to read
"""
