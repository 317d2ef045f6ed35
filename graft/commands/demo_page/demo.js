"use strict";

const element = (id) => document.getElementById(id);
const PIXELS_OF_CAMERA = 1280;
const NAMES_SHOWN = 12;
const SHARE_OF_WINDOW = 0.62;
let model = {names: [], coverage: null, maps: false, max_upload: Infinity};
let stream = null;
let latest = 0;

function say(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

// Instead of an answer: neither one before, nor one that is still to come, is about this photo.
function fail(text) {
  latest++;
  document.body.classList.remove("busy");
  element("result").hidden = true;
  say(text, true);
}

async function describeModel() {
  try {
    model = await (await fetch("model")).json();
  } catch {
    say("The program behind this page has ended; start graft demo again.", true);
    return;
  }
  const names = model.names.slice(0, NAMES_SHOWN).join(", ");
  const more = model.names.length > NAMES_SHOWN ? `, and ${model.names.length - NAMES_SHOWN} more` : "";
  element("classes").textContent = `This model knows ${names}${more}.`;
  element("limits").textContent = `Up to ${model.max_upload / 1e6} MB. It stays on this machine.`;
}

async function classify(file) {
  if (file.size > model.max_upload) {
    fail(`This file is larger than ${model.max_upload / 1e6} MB; choose a smaller one.`);
    return;
  }
  const number = ++latest;
  document.body.classList.add("busy");
  say("Looking at the photo …");
  try {
    const response = await fetch("predict", {method: "POST", body: file});
    if (number !== latest) return;
    if (response.ok) {
      const answer = await response.json();
      if (number !== latest) return;
      await show(answer);
      say("");
    } else {
      const reason = (await response.text()).trim();
      if (number === latest) fail(reason);
    }
  } catch {
    if (number === latest) fail("No answer; is graft demo still running?");
  } finally {
    if (number === latest) document.body.classList.remove("busy");
  }
}

async function show(answer) {
  document.body.classList.add("answered");
  element("photo").src = answer.picture;
  await element("photo").decode().catch(() => {});
  element("answer").classList.toggle("unknown", answer.none_of_these === true);
  const names = answer.prediction_set || [answer.classes[0].name];
  if (answer.none_of_these) {
    element("lead").textContent = "The photo is not like the photos of any class.";
    element("verdict").textContent = "None of these";
  } else {
    element("lead").textContent = names.length > 1 ? "One of these" : "Most likely";
    element("verdict").textContent = names.length > 3 ? `${names.slice(0, 3).join(", ")} …` : names.join(" or ");
  }
  describeSet(answer);
  element("bars").replaceChildren(...answer.classes.map((one, place) => bar(one, place, answer)));
  element("looked").hidden = !answer.classes[0].map;
  element("result").hidden = false;
  choose(0, answer);
}

function describeSet(answer) {
  const text = element("set");
  text.hidden = !answer.prediction_set;
  if (text.hidden) return;
  const share = model.coverage ? `The set that has the right class for ${Math.round(1000 * model.coverage) / 10} % of photos` : "The set";
  text.textContent = `${share}: ${answer.prediction_set.join(", ")}`;
}

function bar(one, place, answer) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const inSet = answer.prediction_set ? one.in_set : place === 0;
  button.type = "button";
  button.classList.toggle("in-set", inSet);
  button.disabled = !one.map;
  for (const name of ["name", "share", "track"]) {
    const part = document.createElement("span");
    part.className = name;
    button.append(part);
  }
  const [name, share, track] = button.children;
  name.textContent = one.name;
  share.textContent = `${(100 * one.probability).toFixed(1)} %`;
  const fill = document.createElement("span");
  fill.className = "fill";
  fill.style.width = `${100 * one.probability}%`;
  track.append(fill);
  button.addEventListener("click", () => choose(place, answer));
  item.append(button);
  return item;
}

function choose(place, answer) {
  const one = answer.classes[place];
  [...element("bars").querySelectorAll("button")].forEach((button, number) => {
    if (one.map) button.setAttribute("aria-pressed", String(number === place));
  });
  element("map").src = one.map || "";
  element("legend").textContent = `Bright speaks for “${one.name}”. Dark does not, or was not seen. Choose another class to see its places.`;
  layMap();
}

function layMap() {
  const photo = element("photo");
  const height = Math.max(240, SHARE_OF_WINDOW * window.innerHeight);
  element("picture").style.width = `${Math.round(height * photo.naturalWidth / photo.naturalHeight) || 0}px`;
  element("map").hidden = element("looked").hidden || !element("show").checked;
}

async function startCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment", width: {ideal: PIXELS_OF_CAMERA}}});
  } catch (error) {
    say(error.name === "NotAllowedError" ? "The browser does not allow the camera; choose a photo." : "No camera; choose a photo.", true);
    return;
  }
  say("");
  element("video").srcObject = stream;
  element("live").hidden = false;
  element("input").hidden = true;
  await element("video").play();
}

function stopCamera() {
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  element("video").srcObject = null;
  element("live").hidden = true;
  element("input").hidden = false;
}

function takePhoto() {
  const video = element("video");
  if (!video.videoWidth) return;
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  stopCamera();
  canvas.toBlob(classify, "image/jpeg", 0.92);
}

function take(files) {
  if (!files.length) fail("This is no file; save the photo and choose it.");
  else classify(files[0]);
}

element("choose").addEventListener("click", () => element("file").click());
element("file").addEventListener("change", (event) => {
  if (event.target.files.length) take(event.target.files);
  event.target.value = "";
});
element("camera").addEventListener("click", startCamera);
element("cancel").addEventListener("click", stopCamera);
element("take").addEventListener("click", takePhoto);
element("show").addEventListener("change", layMap);
window.addEventListener("resize", layMap);
// Browsers show the camera to pages of this machine and of https alone.
element("camera").hidden = !navigator.mediaDevices;

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) take(event.clipboardData.files);
});
describeModel();
