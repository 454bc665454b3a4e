// A picture of one or two curves, as SVG. Each curve: { kind: "one" | "two", label, points: [[x, y], …], dots }.
import { drawn, make } from "./look.js";

const SIDES = { top: 10, right: 12, bottom: 26, left: 44 };

// Round numbers between two others, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

// `say` puts the picture in words, for who cannot see it.
export function plot(curves, say, { width, height = 240, from = null, xTicks = 6 }) {
  const all = curves.flatMap(({ points }) => points);
  const [xs, ys] = [0, 1].map((which) => all.map((point) => point[which]));
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [low, high] = [from ?? Math.min(...ys), Math.max(...ys, (from ?? -Infinity) + 1)];
  const x = (value) => SIDES.left + ((value - left) / (right - left || 1)) * (width - SIDES.left - SIDES.right);
  const y = (value) => height - SIDES.bottom - ((value - low) / (high - low || 1)) * (height - SIDES.top - SIDES.bottom);
  const picture = drawn("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": say });
  for (const at of ticks(low, high, 4)) {
    picture.append(drawn("line", { class: "grid", x1: SIDES.left, x2: width - SIDES.right, y1: y(at), y2: y(at) }));
    picture.append(drawn("text", { x: SIDES.left - 8, y: y(at) + 4, "text-anchor": "end" }, String(at)));
  }
  for (const at of xTicks ? ticks(left, right, xTicks) : []) {
    picture.append(drawn("text", { x: x(at), y: height - 6, "text-anchor": "middle" }, String(at)));
  }
  for (const { kind, points, dots } of curves) {
    const path = points.map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`);
    picture.append(drawn("polyline", { class: `line ${kind}`, points: path.join(" ") }));
    for (const point of dots ? points : []) picture.append(drawn("circle", { class: kind, cx: x(point[0]), cy: y(point[1]), r: 2.5 }));
  }
  const legend = curves.map(({ kind, label }) => make("span", { className: kind }, label));
  return [picture, make("figcaption", {}, ...legend)];
}
