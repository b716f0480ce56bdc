-- The load: DEPTH requests at once on each of CONNECTIONS connections, of METHOD and with the body JSON if there is
-- one, all from the environment.
-- wrk counts every response of a batch as a request, and takes one latency per batch.

local depth = tonumber(os.getenv("DEPTH")) or 1
local connections = tonumber(os.getenv("CONNECTIONS")) or 1
local json = os.getenv("JSON") or ""
local batch

wrk.method = os.getenv("METHOD") or "GET"
if json ~= "" then
    wrk.body = json
    wrk.headers["Content-Type"] = "application/json"
end

if depth > 1 then -- with no `request` function wrk sends one constant request, at less cost
    function init()
        batch = string.rep(wrk.format(), depth)
    end

    function request()
        return batch
    end
end

-- wrk adds made-up latencies below each long one, as if requests had been due at the mean interval of a
-- connection. It takes that interval per request even where it measures per batch, so that most figures
-- are then made up. Taking the additions away again, from the longest down, leaves what was measured.
local function measured(summary, latency)
    local interval = math.floor(summary.duration / math.floor(summary.requests / connections))
    local counts, added, total = {}, {}, 0
    for index = #latency, 1, -1 do
        local micros, count = latency(index)
        count = count - (added[micros] or 0)
        if count > 0 then
            table.insert(counts, {micros, count})
            total = total + count
            if micros >= 2 * interval then
                for below = micros - interval, interval + 1, -interval do
                    added[below] = (added[below] or 0) + count
                end
            end
        end
    end
    return counts, total
end

function done(summary, latency)
    if summary.requests < connections then
        return
    end
    local counts, total = measured(summary, latency)
    if math.abs(total * depth - summary.requests) > connections * depth then
        return -- the additions were other ones: better no figure than a wrong one
    end
    local above = 0
    for _, entry in ipairs(counts) do
        above = above + entry[2]
        if above > total * 0.01 then
            print(string.format("Measured 99%%: %d us of %d", entry[1], total))
            return
        end
    end
end
