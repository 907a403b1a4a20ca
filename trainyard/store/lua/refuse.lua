-- Tell the backend that a request was refused: through an event stream like a job's, so that it is
-- delivered like one. ARGV: id, token, sequence, status event data (JSON), 1: also of a job that ended.
-- Returns 1; 0 if a job has this id: what the backend hears of it is that job's to say.
local id = ARGV[1]
local status = redis.call('HGET', key('job', id), 'status')
if status and not (ARGV[5] == '1' and ENDED[status]) then return 0 end
redis.call('SET', key('token', id), ARGV[2])
append_status(id, 0, ARGV[3], ARGV[4])
wake_sender(id, now_ms(), {status = true})
return 1
