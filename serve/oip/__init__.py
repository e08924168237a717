"""The Open Inference Protocol v2, whatever carries it: `serve.http.oip` and `serve.rpc` are its doors."""
