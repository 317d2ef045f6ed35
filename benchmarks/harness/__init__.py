"""How measurements are taken: processes in turn, their time and memory, and the files of the figures."""
