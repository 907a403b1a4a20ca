"""From what a request names as its data set to the token ids that a training reads.

locate     path or inline content → a file or folder that this job may read
recognise  file → Format; columns → Shape
read       Format → rows as dictionaries, in bounded memory, with their line numbers
format     rows → training rows of one fixed schema, by Shape
content    what a file holds, as a hash
store      rows → a memory-mapped Arrow file in the cache
split      rows → train and eval
render     training rows → the text that the model sees, and what of it is trained on
tokenise   that text → input_ids and labels
prepare    all of it
"""
