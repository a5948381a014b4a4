-- Sends requests that were written beforehand: "<length>\n<bytes>" after each other.
-- Arguments: file, "cycle" (again and again) or "stream" (each once, then stop).
local requests, at, file, streaming, last = {}, 0, nil, false, nil

local function read()
  local length = file:read("*l")
  return length and file:read(tonumber(length))
end

function init(args)
  file = assert(io.open(args[1], "rb"))
  streaming = args[2] == "stream"
  if not streaming then
    for one in read do requests[#requests + 1] = one end
  end
end

function request()
  if streaming then
    local one = read()
    if not one then wrk.thread:stop() end
    last = one or last
    return last
  end
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  io.stderr:write(string.format(
    '{"requests":%d,"seconds":%.6f,"bytes":%d,"bad":%d,"p50":%.4f,"p90":%.4f,"p99":%.4f}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
      + summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3))
end
