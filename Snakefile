from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/make_phantom.smk"
include: "workflow/rules/make_landscape.smk"
include: "workflow/rules/resample_volume.smk"
include: "workflow/rules/extract_features.smk"
include: "workflow/rules/extract_context.smk"
include: "workflow/rules/extract_views.smk"
include: "workflow/rules/train_model.smk"
include: "workflow/rules/infer_shard.smk"
include: "workflow/rules/blend_shards.smk"
include: "workflow/rules/segment_objects.smk"
include: "workflow/rules/measure_quality.smk"
include: "workflow/rules/render_report.smk"
include: "workflow/rules/summarize_cohort.smk"


if PROJECT.predicted_of("detection"):

    include: "workflow/rules/detect_nodules.smk"
    include: "workflow/rules/measure_detections.smk"
    include: "workflow/rules/render_detections.smk"


if PROJECT.predicted_tiles:

    include: "workflow/rules/predict_tiles.smk"
    include: "workflow/rules/collect_tiles.smk"


if PROJECT.predicted_of("refinement"):

    include: "workflow/rules/export_mosaic.smk"


if PROJECT.predicted_tiles or PROJECT.predicted_of("refinement"):

    include: "workflow/rules/measure_tiles.smk"
    include: "workflow/rules/render_tiles.smk"


if PROJECT.study:

    include: "workflow/rules/context_study.smk"


rule all:
    default_target: True
    input:
        list(PROJECT.trained),
        "<results>/report.html" if PROJECT.predicted else [],
        # what a sample is run for is made again when it was deleted
        predicted("report.html"),
        predicted("quality.json"),
        predicted_of("segmentation", "objects.tsv"),
        predicted_of("detection", "detections.json"),
        predicted_of("refinement", "refined.tif"),
        predicted_tiles("tiles.tsv"),


onstart:
    begin()
    print("\n".join(f"Note: {notice}" for notice in PROJECT.notices))


onsuccess:
    print(f"\nDone. {PROJECT.outcome}")


onerror:
    print(f"\nSomething failed. The logs are in {PROJECT.settings.results}/logs.")
