"""From what a request names as its data set to the token ids that a training reads.

locate     path or inline content → a file or folder that this job may read
recognise  file → Format; columns → Shape
read       Format → rows as dictionaries, in bounded memory, with their line numbers
format     rows → training rows of one fixed schema, by Shape
store      rows → a memory-mapped Arrow file in the cache
split      rows → train and eval
tokenise   training rows → input_ids and labels
prepare    all of it
"""
