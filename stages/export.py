"""Stage export: write the best model as one file, from pixels to class probabilities, and its description."""

import sys

from graft.core import paths
from graft.core.files import read_json, write_bytes, write_json
from graft.core.quiet import hidden, importing
from graft.core.stage import run_stage
from graft.heads.head import read_head
from graft.images.table import read_image_table, with_few_for_validation
from graft.serving.metadata import outputs_of, with_metadata
from graft.settings import params

with importing():
    from graft.serving.export import candidates, display_names, unknown_display_names
    from graft.serving.formats import write_formats


def main() -> None:
    parameters = params.load()
    table = with_few_for_validation(read_image_table(), parameters.limits.rows_in_memory)
    head, classes = read_head(paths.HEAD)
    table.require_classes(classes, paths.HEAD)
    with hidden():
        models = list(candidates(parameters, head, table))
    best = min(models, key=lambda candidate: candidate.figures["loss"])
    unknown = unknown_display_names(parameters.display_names, table.classes)
    names = display_names(parameters.display_names, table.classes)
    with hidden():
        limits = best.limits(table, parameters.predict.coverage)
        network = best.compiled(limits)
    for warning in limits.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    description = best.description | limits.description | ({"display_names": names} if names else {})
    write_bytes(paths.CLASSIFIER, with_metadata(network, description, outputs_of(description)))
    write_json(paths.LABELS, description)
    formats = write_formats(parameters.export.formats, best, limits, description, table)
    write_json(
        paths.EXPORT_METRICS,
        {
            "exported": best.model,
            "image_size": best.description["image_size"],
            "cut": read_json(paths.BACKBONE_DESCRIPTION)["cut"]["after"],
            "exported_validation": best.figures,
            **({"formats_validation": formats} if formats else {}),
            **({"unknown_display_names": unknown} if unknown else {}),
        },
    )
    losses = (f"{each} {each.figures['loss']:.4f}" for each in models)
    print(f"exported: {best}; loss on the validation part: {', '.join(losses)}")


if __name__ == "__main__":
    run_stage(main)
