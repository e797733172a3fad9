"""The tensors of a layer: shapes, how they shard, what they hold."""
