import agent.loop, board

agent.loop.live(board.Board(watchdog, on_trial))
