rule segment_objects:
    input:
        prediction="<results>/{sample}/prediction.ome.zarr",
    output:
        classes=directory("<results>/{sample}/classes.ome.zarr"),
        objects=directory("<results>/{sample}/objects.ome.zarr"),
        table="<results>/{sample}/objects.tsv",
    log:
        "<logs>/{sample}/segment_objects.log",
    benchmark:
        "<benchmarks>/{sample}/segment_objects.tsv"
    wildcard_constraints:
        sample=samples_of("segmentation"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("segment_objects"),
        runtime=minutes("segment_objects"),
    params:
        method=setting("task.postprocess.method"),
        connectivity=setting("task.postprocess.connectivity"),
        classes=setting("task.postprocess.classes"),
        code=fingerprint("segment_objects"),
    message:
        "{wildcards.sample}: segmenting objects by {params.method}"
    script:
        "../../scripts/segment_objects.py"
