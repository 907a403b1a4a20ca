"""From what a request names as its data set to the token ids that a training reads.

locate     path or inline content → a file or folder that this job may read
parts      what was found → its train and eval rows, each a memory-mapped Arrow file
folder     archives and folders → the files of each split
recognise  file → Format; columns → Shape
read       files → one Arrow file, in bounded memory, and the rows that cannot be read
format     rows → training rows of one fixed schema, by Shape; canonical: messages of one form
content    what a file holds, as a hash
store      rows → a memory-mapped Arrow file in the cache
split      rows → train and eval
render     training rows → the text that the model sees, and what of it is trained on
template   a chat template: how it wants messages, what it puts around turns
shadow     messages → the same, every word a mark of its message
patterns   what a template writes around plain messages, learned once → the same, without a shadow
shadow_reader  from its marks to where the answers stand
turns      a conversation and its shadow, rendered → where the answers stand, what was left out
tokenise   that text → input_ids and labels
prepare    all of it
"""
