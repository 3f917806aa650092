import agent.loop, board, sys

agent.loop.live(board.Board(watchdog, on_trial, sys.stdin.buffer))
