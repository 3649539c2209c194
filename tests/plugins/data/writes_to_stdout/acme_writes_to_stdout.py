import os

print("acme says hello")
os.write(1, b"acme says it again, past Python\n")
