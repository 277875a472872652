from services.common.server import run
from services.voice.servicer import register

if __name__ == "__main__":
    run("voice", register)
