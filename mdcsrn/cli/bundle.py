"""``mdcsrn bundle``: list, check, package and export bundles."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mdcsrn.cli import _complete as complete
from mdcsrn.errors import DataError
from mdcsrn.notices import printable

_path = click.Path(path_type=Path, readable=False)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


@click.group("bundle")
def group() -> None:
    """List, check, pack and export bundles."""


@group.command("list")
@click.argument("bundles", metavar="[BUNDLE]...", nargs=-1, shell_complete=complete.bundles)
@_json
def listing(bundles: tuple[str, ...], as_json: bool) -> None:
    """List bundles, what each is for, and their models with size and SHA-256.

    BUNDLE is a folder or the name of a shipped bundle; without one, all that came with the package.
    """
    from mdcsrn.bundle.listing import describe
    from mdcsrn.resources import bundle_folder, shipped_bundles

    homes = [bundle_folder(bundle) for bundle in bundles] or shipped_bundles()
    found = [describe(home) for home in homes]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for bundle in found:
        use = next((model["use"] for model in bundle["models"]), "no weights yet: train it, or give --model FILE")
        click.echo(printable(f"{bundle['name']} {bundle['version']}: {bundle['task']}{use and f' ({use})'}"))
        for model in bundle["models"]:
            for entry in model["files"]:
                words = {True: "", False: "  DIFFERS from the hash list", None: "  not on the hash list"}
                size = f"{entry['bytes'] / 1e6:.2f} MB"
                click.echo(printable(
                    f"  {model['name']:<10} {entry['file']:<22} {size:>9}  {entry['sha256']}{words[entry['listed']]}"
                ))  # fmt: skip


@group.command("check")
@click.argument("bundle", metavar="BUNDLE", type=_path, shell_complete=complete.bundles)
@click.option("--network", is_flag=True, help="Also run its network: only for a bundle that you trust.")
@_json
def checking(bundle: Path, network: bool, as_json: bool) -> None:
    """Check a bundle: folder, zip, or the name of a shipped one.

    The model zoo's rules (files, metadata, version, identifiers, hashes), and a screen of what it could do: names that
    its configs call, `$` expressions, pickles, logging, links, archive tricks. Nothing of the bundle is evaluated. The
    network of a shipped bundle is run too (MONAI's verify_net_in_out and ckpt_export). Exit code 0: it passes; 3: a
    rule is broken, or something in it is not on the list of what is known to be harmless ("not judged").
    """
    from mdcsrn.bundle.check import check, check_network, find_source, is_shipped
    from mdcsrn.bundle.finding import verdict

    source = find_source(bundle)
    findings = check(source)
    ran = not findings and source.is_dir() and (network or is_shipped(source))
    if ran:
        findings = check_network(source)
    if as_json:
        document = {"bundle": str(source), "verdict": verdict(findings), "network": ran,
                    "findings": [finding.to_dict() for finding in findings]}  # fmt: skip
        click.echo(json.dumps(document, indent=2))
    else:
        for finding in findings:
            click.echo(printable(f"{finding.rule:<14} {finding.verdict}: {finding.where}: {finding.text}"))
    if findings:
        rules = ", ".join(sorted({finding.rule for finding in findings}))
        remedy = "do not run it" if verdict(findings) == "refused" else "read each of these places before you run it"
        raise DataError(f"{source} is {verdict(findings)}", got=f"{len(findings)} found: {rules}", remedy=remedy)
    if not as_json:
        click.echo(f"{source} passes" + ("; its network too" if ran else ""))


@group.command("export")
@click.argument("bundle", metavar="BUNDLE", shell_complete=complete.bundles)
@click.option(
    "--format",
    "form",
    required=True,
    metavar="F",
    shell_complete=complete.among(complete.FORMS),
    help="torchscript, pt2, onnx, openvino, safetensors (tensorrt: says how).",
)
@click.option("-o", "--output", required=True, type=_path, metavar="FILE", help="File to write; FILE.json beside it.")
@click.option("--model", metavar="M", help="Model of the bundle; default: model.", shell_complete=complete.models)
@click.option("--precision", metavar="P", help="float32; bfloat16: torchscript, pt2; float16, int8: openvino.",
              shell_complete=complete.among(complete.FORM_PRECISIONS))  # fmt: skip
@click.option("--volume", type=_path, metavar="SCAN", help="Scan to compare on; default: nilearn's MNI152.")
@_json
def exporting(
    bundle: str,
    form: str,
    output: Path,
    model: str | None,
    precision: str | None,
    volume: Path | None,
    as_json: bool,
) -> None:
    """Write a model in another form, with free sizes, and compare it with the network on a real scan.

    In float32 the two must agree to 1e-5 of the largest value; other precisions report their PSNR. FILE.json keeps the
    figures, the architecture, the trained range and how to load it (docs/bundle.md).
    """
    from mdcsrn.bundle.export import export

    record = export(bundle, form, output, model, precision, volume)
    if as_json:
        click.echo(json.dumps(record, indent=2))
        return
    check = record["check"]
    psnr = "exact" if check["psnr_db"] is None else f"{check['psnr_db']:.1f} dB"
    sizes = ", ".join("x".join(map(str, shape)) for shape in check["shapes"])
    click.echo(printable(f"{output}: {form}, {record['precision']}"))
    click.echo(printable(f"  to the network: relative error {check['relative_error']:.2g}, PSNR {psnr}"))
    click.echo(printable(f"  on {check['scan']}, sizes {sizes}"))
    click.echo(printable(f"  load: {record['load']}"))


@group.command("pack")
@click.argument("bundle", metavar="BUNDLE", shell_complete=complete.bundles)
@click.option("-o", "--output", required=True, type=_path, metavar="DIR|ZIP", help="New folder, or a file NAME.zip.")
@click.option("--url", metavar="URL", help="Where files over 25 MB lie (https); they are named instead of packed.")
def packing(bundle: str, output: Path, url: str | None) -> None:
    """Put a bundle together as one folder or zip that runs where only mdcsrn is installed.

    BUNDLE is a folder or the name of a shipped bundle. The fragments that its configs merge lie in its configs/ then,
    and sha256.txt lists every file. Equal bundles give equal bytes; what was written is checked.
    """
    from mdcsrn.bundle.pack import pack

    click.echo(pack(bundle, output, url))
