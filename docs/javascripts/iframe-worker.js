/* Lets the search work in pages opened from a disk, where browsers refuse workers: the worker's
   script runs in a hidden frame that looks like one. The search looks for this name. */
"use strict";

window.IFrameWorker = class extends EventTarget {
  constructor(address) {
    super();
    const frame = document.createElement("iframe");
    frame.hidden = true;
    document.body.append(frame);
    this.frame = frame;
    const inner = frame.contentWindow;
    this.deliver = inner.dispatchEvent.bind(inner);
    inner.postMessage = (data) => this.receive(data);
    inner.importScripts = (...addresses) =>
      addresses.reduce((before, each) => before.then(() => this.load(each)), Promise.resolve());
    this.ready = this.load(address);
  }

  load(address) {
    return new Promise((done, failed) => {
      const script = this.frame.contentDocument.createElement("script");
      Object.assign(script, { src: address, onload: done, onerror: failed });
      this.frame.contentDocument.body.append(script);
    });
  }

  receive(data) {
    const event = new MessageEvent("message", { data });
    this.dispatchEvent(event);
    this.onmessage?.(event);
  }

  postMessage(data) {
    this.ready.then(() =>
      this.deliver(new MessageEvent("message", { data: structuredClone(data) })));
  }

  terminate() {
    this.frame.remove();
  }
};

if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker;
}
