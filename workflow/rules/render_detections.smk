rule render_detections:
    input:
        detections="<results>/{sample}/detections.json",
        prediction="<results>/{sample}/prediction.ome.zarr",
        volume="<results>/{sample}/volume.ome.zarr",
        quality="<results>/{sample}/quality.json",
        metrics="<results>/{sample}/quality.tsv",
        source=setting("files.source"),
        metadata=setting("files.metadata"),
    output:
        html="<results>/{sample}/report.html",
        visualization=report(
            "<results>/{sample}/visualization.png",
            caption="../report/detections.rst",
            category="Detection",
            labels={"sample": "{sample}", "content": "slices"},
        ),
        confidences=report(
            "<results>/{sample}/confidence_distribution.png",
            caption="../report/detections.rst",
            category="Detection",
            labels={"sample": "{sample}", "content": "confidences"},
        ),
        pdf="<results>/{sample}/report.pdf",
        scene="<results>/{sample}/3d_rendering.html",
    log:
        "<logs>/{sample}/render_detections.log",
    benchmark:
        "<benchmarks>/{sample}/render_detections.tsv"
    wildcard_constraints:
        sample=samples_of("detection"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("render_detections"),
        runtime=minutes("render_detections"),
    params:
        source=setting("source"),
        metadata=setting("metadata"),
        visualization=setting("task.visualization"),
        detection=setting("task.detection"),
        triage=setting("task.triage"),
        code=fingerprint("render_detections"),
    message:
        "{wildcards.sample}: drawing detections"
    script:
        "../../scripts/render_detections.py"
