"""All stages from the source of a volume to its prediction, in execution order."""

from __future__ import annotations

from parafovea.chain import block_stages as blocks
from parafovea.chain import volume_stages as whole

STAGES = (
    blocks.scan_block,
    blocks.merge_scan,
    blocks.resample_volume_block,
    blocks.join_volume,
    whole.resample_volume,
    blocks.extract_features_block,
    blocks.join_features,
    whole.extract_features,
    blocks.extract_context_block,
    blocks.join_context,
    whole.extract_context,
    blocks.extract_view_features_block,
    blocks.join_view_features,
    whole.extract_view_features,
    blocks.extract_view_context_block,
    blocks.join_view_context,
    whole.extract_view_context,
    whole.infer_shard,
    blocks.blend_shards_block,
    blocks.join_prediction,
    whole.blend_shards,
)
