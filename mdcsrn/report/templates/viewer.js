// The viewer of a report: two pictures of one head, one over the other, parted in every plane by a movable line.
(() => {
  "use strict";
  const get = (id) => document.getElementById(id);
  const settings = JSON.parse(get("viewer-settings").textContent);
  const root = document.documentElement;

  function fail(reason) {
    root.classList.add("no-viewer");
    get("viewer-message").textContent = `The viewer cannot run here (${reason}). The pictures below show the same planes.`;
    get("viewer").dataset.state = "failed";
  }

  function bytesOf(text) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes;
  }

  async function unpacked(text) {
    const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Running sums along each axis, modulo 256; the first axis is the fastest.
  function unfilter(codes, [nx, ny, nz]) {
    const row = nx, plane = nx * ny;
    for (let z = 0; z < nz; z++)
      for (let y = 0; y < ny; y++)
        for (let i = z * plane + y * row + 1, end = z * plane + y * row + nx; i < end; i++) codes[i] += codes[i - 1];
    for (let z = 0; z < nz; z++)
      for (let i = z * plane + row, end = (z + 1) * plane; i < end; i++) codes[i] += codes[i - row];
    for (let i = plane; i < codes.length; i++) codes[i] += codes[i - plane];
    return codes;
  }

  function nifti(header, codes) {
    const file = new Uint8Array(header.length + codes.byteLength);
    file.set(header);
    file.set(new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength), header.length);
    return file.buffer;
  }

  // Signed difference of two pictures as 16-bit NIfTI, in the same unit.
  function difference(left, right) {
    const header = left.header.slice();
    const view = new DataView(header.buffer);
    view.setInt16(70, 4, true);
    view.setInt16(72, 16, true);
    const values = new Int16Array(left.codes.length);
    for (let i = 0; i < values.length; i++) values[i] = right.codes[i] - left.codes[i];
    return nifti(header, values);
  }

  // Grey levels that one voxel in 200 exceeds, of those that differ at all: the end of the difference's scale.
  function largestUsual(left, right) {
    const counts = new Uint32Array(256);
    for (let i = 0; i < left.length; i++) counts[Math.abs(right[i] - left[i])]++;
    let rest = (left.length - counts[0]) / 200;
    for (let level = 255; level > 3; level--) if ((rest -= counts[level]) < 0) return level;
    return 3;
  }

  async function decode() {
    const layers = [];
    for (const described of settings.layers) {
      const holder = get(described.id);
      const stored = await unpacked(holder.textContent);
      const codes = described.filtered ? unfilter(stored, described.shape) : stored;
      holder.remove(); // the text is no longer needed: half of the page's memory
      if (described.relative) for (let i = 0; i < codes.length; i++) codes[i] += layers[0].codes[i];
      layers.push({ ...described, codes, header: bytesOf(described.header), peak: 255 * described.step });
    }
    return layers;
  }

  const FADING = 1; // NiiVue's colours from zero to the end, the fainter the smaller
  const OPTIONS = {
    backColor: [0, 0, 0, 1], crosshairColor: [0.35, 0.75, 0.95, 0.6], crosshairWidth: 0.5, fontColor: [1, 0.69, 0, 1],
    multiplanarShowRender: 0, dragAndDropEnabled: false, isColorbar: false, crosshairGap: 5, show3Dcrosshair: false, loadingText: "",
    isRadiologicalConvention: false, sagittalNoseLeft: false, logLevel: "silent", fontMinPx: 11, fontSizeScaling: 0.25,
    tileMargin: 4,
  };

  async function start() {
    const probe = document.createElement("canvas").getContext("webgl2");
    if (!probe) return fail("no WebGL 2");
    if (typeof DecompressionStream === "undefined") return fail("the browser is too old");
    const layers = await decode();
    const pictures = layers.filter((layer) => layer.kind === "volume");
    const maps = layers.filter((layer) => layer.kind === "map");
    const panes = { left: new niivue.Niivue({ ...OPTIONS }), right: new niivue.Niivue({ ...OPTIONS }) };
    for (const [name, pane] of Object.entries(panes)) await pane.attachToCanvas(get(`canvas-${name}`));

    const controls = Object.fromEntries(
      ["swipe", "left", "right", "overlay", "opacity", "smooth", "crosshair"].map((id) => [id, get(`viewer-${id}`)]),
    );
    for (const [index, picture] of pictures.entries())
      for (const side of ["left", "right"]) controls[side].add(new Option(picture.name, index));
    controls.left.value = 0;
    controls.right.value = Math.min(1, pictures.length - 1);
    for (const [index, map] of maps.entries()) controls.overlay.add(new Option(map.name, `map-${index}`));

    const shown = (side) => pictures[Number(controls[side].value)];

    async function fill(side) {
      const pane = panes[side], picture = shown(side);
      while (pane.volumes.length) pane.removeVolumeByIndex(pane.volumes.length - 1);
      await pane.loadFromArrayBuffer(nifti(picture.header, picture.codes), "picture.nii");
      const base = pane.volumes[0];
      [base.cal_min, base.cal_max] = [0, picture.peak];
      const choice = controls.overlay.value;
      if (choice === "difference") {
        await pane.loadFromArrayBuffer(difference(shown("left"), shown("right")), "difference.nii");
        const over = pane.volumes[1];
        const end = largestUsual(shown("left").codes, shown("right").codes) * picture.step;
        [over.colormap, over.colormapNegative] = ["warm", "winter"]; // first: it sets limits of its own
        [over.cal_min, over.cal_max] = [0.6 * end, end];
        [over.cal_minNeg, over.cal_maxNeg] = [-end, -0.6 * end];
        over.colormapType = FADING;
      } else if (choice.startsWith("map-")) {
        const map = maps[Number(choice.slice(4))];
        await pane.loadFromArrayBuffer(nifti(map.header, map.codes), "map.nii");
        const over = pane.volumes[1];
        over.colormap = "inferno";
        [over.cal_min, over.cal_max] = [0.6 * map.peak, map.peak];
        over.colormapType = FADING;
      }
      if (pane.volumes.length > 1) pane.setOpacity(1, Number(controls.opacity.value) / 100);
      pane.updateGLVolume();
    }

    // The left picture lies over the right one and is cut off at the line, in each plane.
    function swipe() {
      const over = get("canvas-left"), lines = get("viewer-lines");
      const scale = over.width / over.clientWidth || 1;
      const share = Number(controls.swipe.value) / 100;
      const parts = [], marks = [];
      for (const slice of panes.right.screenSlices) {
        const [x, y, w, h] = slice.leftTopWidthHeight.map((v) => v / scale);
        if (!(w > 0 && h > 0)) continue;
        parts.push(`M${x} ${y}h${w * share}v${h}h${-w * share}Z`);
        if (share > 0 && share < 1) marks.push(`M${x + w * share} ${y}v${h}`);
      }
      over.style.clipPath = parts.length ? `path("${parts.join("")}")` : "none";
      lines.setAttribute("d", marks.join(""));
      get("viewer-swipe-value").textContent = `${controls.swipe.value} % ${shown("left").name}`;
    }

    const drawRight = panes.right.drawScene.bind(panes.right);
    panes.right.drawScene = () => {
      const result = drawRight();
      const [from, to] = [panes.right.scene, panes.left.scene];
      if (panes.left.volumes.length) {
        to.crosshairPos = from.crosshairPos.slice();
        to.pan2Dxyzmm = from.pan2Dxyzmm.slice();
        if (panes.left.volumes[0] && panes.right.volumes[0]) {
          const [a, b] = [panes.right.volumes[0], panes.left.volumes[0]];
          if (a.cal_min !== b.cal_min || a.cal_max !== b.cal_max) {
            [b.cal_min, b.cal_max] = [a.cal_min, a.cal_max];
            panes.left.updateGLVolume();
          }
        }
        panes.left.drawScene();
      }
      swipe();
      return result;
    };

    panes.right.onLocationChange = (place) => {
      if (!place.vox || !panes.left.volumes.length || !panes.right.volumes.length) return;
      const millimetres = Array.from(place.mm).slice(0, 3).map((v) => v.toFixed(1)).join(", ");
      const values = ["left", "right"].map((side) => {
        const value = panes[side].volumes[0].getValue(...Array.from(place.vox).map(Math.round));
        return `${shown(side).name}: ${Number(value.toPrecision(4))}`;
      });
      get("viewer-place").textContent = `(${millimetres}) mm · ${values.join(" · ")}`;
    };

    // The stage is as high as its planes need: in a row on a wide page, two by two on a narrow one.
    function layout() {
      const stage = get("viewer-stage");
      const [x, y, z] = settings.extent;
      const wide = stage.clientWidth >= 640;
      const single = [z / y, z / x, y / x][settings.across ?? 3];
      const ratio = single ?? (wide ? Math.max(y, z) / (2 * x + y) : (y + z) / (x + y));
      stage.style.height = `${Math.round(Math.min(Math.max(stage.clientWidth * ratio, 220), 760))}px`;
      for (const pane of Object.values(panes)) {
        pane.opts.multiplanarLayout = wide ? 3 : 2;
        pane.resizeListener();
      }
      panes.right.drawScene();
    }

    async function both() {
      get("viewer").dataset.state = "busy";
      await fill("left");
      await fill("right");
      panes.right.createOnLocationChange();
      panes.right.drawScene();
      get("viewer").dataset.state = "ready";
    }

    get("viewer").dataset.state = "busy";
    // NiiVue's numbers: 2, 1 and 0 for the sagittal, coronal and axial plane, 3 for all of them
    for (const pane of Object.values(panes)) pane.setSliceType(settings.across === null ? 3 : 2 - settings.across);
    await both();
    panes.right.scene.crosshairPos = settings.centre.slice();
    panes.right.createOnLocationChange();
    layout();
    new ResizeObserver(() => requestAnimationFrame(layout)).observe(get("viewer"));
    controls.swipe.addEventListener("input", swipe);
    for (const id of ["left", "right", "overlay"]) controls[id].addEventListener("change", both);
    controls.opacity.addEventListener("input", () => {
      for (const pane of Object.values(panes))
        if (pane.volumes.length > 1) pane.setOpacity(1, Number(controls.opacity.value) / 100);
      panes.right.drawScene();
    });
    controls.smooth.addEventListener("change", () => {
      for (const pane of Object.values(panes)) pane.setInterpolation(!controls.smooth.checked);
      panes.right.drawScene();
    });
    controls.crosshair.addEventListener("change", () => {
      for (const pane of Object.values(panes)) pane.setCrosshairWidth(controls.crosshair.checked ? 0.5 : 0);
      panes.right.drawScene();
    });
    get("viewer-flip").addEventListener("click", () => {
      controls.swipe.value = Number(controls.swipe.value) >= 50 ? 0 : 100;
      swipe();
    });
    root.classList.add("has-viewer");
    get("viewer").dataset.state = "ready";
  }

  start().catch((error) => fail(error.message));
})();
