"""Commands beside the stages: check, predict, plan, explain, export."""
