"""What users call, a file or a few each: data, model, method and run put together.

`settings` has all that a user may set; nothing is imported here, so that it loads quickly.
"""
