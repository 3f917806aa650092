"""What an update costs, measured from outside: the agent beside a floor and two other ways to update, on one VM."""
