"""Known quantities of a case, recomputed by the planner's own cost model."""
