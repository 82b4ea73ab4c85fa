//! Frames to bytes and back. Lengths are checked before anything is allocated for them.

use bytes::{Buf, Bytes, BytesMut};
use tidepool_core::{Kind, PoolName, Priority, RequestId, SpanId, TraceContext, TraceId, WorkerId};

use super::header::{Reader, Writer};
use super::{
    Credit, DETAIL_BYTES_MAX, Demand, FAULTS_MAX, FRAME_HEADER_BYTES, Failed, FailureCode, Frame,
    FrameError, Grant, Hello, LABEL_BYTES_MAX, POOLS_MAX, Ping, Reject, RejectReason, Request,
    Response,
};
use crate::payload::FAULT_BYTES_MAX;
use crate::{Fault, Format};

/// Longest text of a fault: it is cut, and then marked as cut with three bytes more.
const FAULT_TEXT_MAX: usize = FAULT_BYTES_MAX + 3;
/// Bytes that the length counts before the body: kind, flags, id.
const COUNTED_BYTES: usize = FRAME_HEADER_BYTES - 4;
/// Flag: CHUNKs follow.
const MORE: u8 = 1;
/// Flag: a ping that comes back.
const PONG: u8 = 2;

const HELLO: u8 = 1;
const REQUEST: u8 = 2;
const RESPONSE: u8 = 3;
const CHUNK: u8 = 4;
const REJECT: u8 = 5;
const CANCEL: u8 = 6;
const CREDIT: u8 = 7;
const DRAIN: u8 = 8;
const PING: u8 = 9;

/// A frame whose body was not looked at yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawFrame {
    kind: u8,
    flags: u8,
    id: u64,
    body: Bytes,
}

/// Takes one frame off the front of what was read; `None` until it is complete.
///
/// # Errors
/// [`FrameError::TooLong`] and [`FrameError::TooShort`], as soon as the length is there.
pub fn take_frame(
    buffer: &mut BytesMut,
    body_bytes_max: usize,
) -> Result<Option<RawFrame>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(*prefix) as usize;
    let max = body_bytes_max + COUNTED_BYTES;
    if len > max {
        return Err(FrameError::TooLong { len, max });
    }
    if len < COUNTED_BYTES {
        return Err(FrameError::TooShort(len));
    }
    if buffer.len() < len + 4 {
        return Ok(None);
    }
    let mut frame = buffer.split_to(len + 4).freeze();
    frame.advance(4);
    Ok(Some(RawFrame {
        kind: frame.get_u8(),
        flags: frame.get_u8(),
        id: frame.get_u64(),
        body: frame,
    }))
}

impl RawFrame {
    /// Reads the body.
    ///
    /// # Errors
    /// When the kind is unknown or the header is not that of its kind.
    pub fn parse(self) -> Result<Frame, FrameError> {
        let (id, more) = (self.id, self.flags & MORE != 0);
        let whole = |left: &[u8]| match left.len() {
            0 => Ok(()),
            left => Err(FrameError::Trailing(left)),
        };
        Ok(match self.kind {
            HELLO => Frame::Hello(Box::new(Hello::read(&self.body)?)),
            REQUEST => {
                let (request, rest) = read_request(&self.body)?;
                let payload = self.body.slice_ref(rest);
                Frame::Request {
                    id,
                    request,
                    payload,
                    more,
                }
            }
            RESPONSE => {
                let (response, rest) = read_response(&self.body)?;
                let payload = self.body.slice_ref(rest);
                Frame::Response {
                    id,
                    response,
                    payload,
                    more,
                }
            }
            CHUNK => Frame::Chunk {
                id,
                payload: self.body,
                more,
            },
            REJECT => {
                let (reject, rest) = read_reject(&self.body)?;
                whole(rest)?;
                Frame::Reject { id, reject }
            }
            CANCEL => {
                whole(&self.body)?;
                Frame::Cancel { id }
            }
            CREDIT => {
                let (credit, rest) = read_credit(&self.body)?;
                whole(rest)?;
                Frame::Credit(credit)
            }
            DRAIN => {
                whole(&self.body)?;
                Frame::Drain
            }
            PING if self.flags & PONG != 0 => {
                whole(&self.body)?;
                Frame::Pong { nonce: id }
            }
            PING => {
                let (demand, rest) = read_demand(&self.body)?;
                whole(rest)?;
                Frame::Ping(Ping { nonce: id, demand })
            }
            kind => return Err(FrameError::UnknownKind(kind)),
        })
    }
}

impl Frame {
    /// Appends the frame to what is to be written.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => put(out, HELLO, 0, 0, |out| hello.write(out)),
            Self::Request {
                id,
                request,
                payload,
                more,
            } => {
                put_request(out, *id, request, payload, *more);
            }
            Self::Response {
                id,
                response,
                payload,
                more,
            } => {
                put_response(out, *id, response, payload, *more);
            }
            Self::Chunk { id, payload, more } => put_chunk(out, *id, payload, *more),
            Self::Reject { id, reject } => {
                put(out, REJECT, 0, *id, |out| write_reject(out, reject))
            }
            Self::Cancel { id } => put(out, CANCEL, 0, *id, |_| {}),
            Self::Credit(credit) => put(out, CREDIT, 0, 0, |out| write_credit(out, credit)),
            Self::Drain => put(out, DRAIN, 0, 0, |_| {}),
            Self::Ping(ping) => put(out, PING, 0, ping.nonce, |out| write_demand(out, ping)),
            Self::Pong { nonce } => put(out, PING, PONG, *nonce, |_| {}),
        }
    }
}

/// Appends a REQUEST with the first piece of its payload, of [`super::CHUNK_BYTES`] at most.
pub fn put_request(out: &mut Vec<u8>, id: u64, request: &Request, piece: &[u8], more: bool) {
    put(out, REQUEST, flag(more), id, |out| {
        write_request(out, request);
        out.extend_from_slice(piece);
    });
}

/// Appends a RESPONSE with the first piece of its payload.
pub fn put_response(out: &mut Vec<u8>, id: u64, response: &Response, piece: &[u8], more: bool) {
    put(out, RESPONSE, flag(more), id, |out| {
        write_response(out, response);
        out.extend_from_slice(piece);
    });
}

/// Appends a further piece of a payload.
pub fn put_chunk(out: &mut Vec<u8>, id: u64, piece: &[u8], more: bool) {
    put(out, CHUNK, flag(more), id, |out| {
        out.extend_from_slice(piece)
    });
}

fn flag(more: bool) -> u8 {
    if more { MORE } else { 0 }
}

fn put(out: &mut Vec<u8>, kind: u8, flags: u8, id: u64, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    let mut header = [0; FRAME_HEADER_BYTES];
    header[4] = kind;
    header[5] = flags;
    header[6..].copy_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&header);
    body(out);
    let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn format_code(format: Format) -> u8 {
    match format {
        Format::Json => 0,
        Format::MsgPack => 1,
    }
}

fn read_format(r: &mut Reader<'_>, name: &'static str) -> Result<Format, FrameError> {
    match r.uint(name)? {
        0 => Ok(Format::Json),
        1 => Ok(Format::MsgPack),
        _ => Err(FrameError::Wrong(name)),
    }
}

fn read_pool(r: &mut Reader<'_>) -> Result<PoolName, FrameError> {
    let name = r.text("pool", LABEL_BYTES_MAX)?;
    PoolName::new(name).map_err(|_| FrameError::Wrong("pool"))
}

fn write_request(out: &mut Vec<u8>, request: &Request) {
    let mut w = Writer(out);
    w.array(12);
    w.bytes(request.request_id.0.as_bytes());
    w.text(request.pool.as_str(), LABEL_BYTES_MAX);
    w.text(request.kind.as_str(), LABEL_BYTES_MAX);
    w.bytes(&request.trace.trace_id.0.to_be_bytes());
    w.uint(request.trace.span_id.0);
    w.flag(request.trace.sampled);
    w.uint(request.remaining_us);
    w.uint(request.priority.urgency());
    w.flag(request.idempotent);
    w.uint(format_code(request.input_format));
    w.uint(format_code(request.reply_format));
    match request.session {
        Some(session) => w.uint(session),
        None => w.nil(),
    }
}

fn read_request(body: &[u8]) -> Result<(Request, &[u8]), FrameError> {
    let mut r = Reader::array(body)?;
    let request = Request {
        request_id: RequestId(uuid::Uuid::from_bytes(r.bytes("request_id")?)),
        pool: read_pool(&mut r)?,
        kind: Kind::new(r.text("kind", LABEL_BYTES_MAX)?).map_err(|_| FrameError::Wrong("kind"))?,
        trace: TraceContext {
            trace_id: TraceId(u128::from_be_bytes(r.bytes("trace_id")?)),
            span_id: SpanId(r.uint("span_id")?),
            sampled: r.flag("sampled")?,
        },
        remaining_us: r.uint("remaining_us")?,
        priority: Priority::new(r.int("priority")?),
        idempotent: r.flag("idempotent")?,
        input_format: read_format(&mut r, "input_format")?,
        reply_format: read_format(&mut r, "reply_format")?,
        session: match r.has_more() {
            true => r.or_nil(|r| r.uint("session"))?,
            false => None,
        },
    };
    Ok((request, r.close()?))
}

fn write_response(out: &mut Vec<u8>, response: &Response) {
    let mut w = Writer(out);
    // An answer has four fields: most are answers.
    w.array(if response.failed.is_some() { 5 } else { 4 });
    w.uint(format_code(response.format));
    let worker = response.worker.as_ref().map(WorkerId::as_str);
    w.text_or_nil(worker, LABEL_BYTES_MAX);
    w.uint(response.queued_us);
    w.uint(response.work_us);
    if let Some(failed) = &response.failed {
        w.array(4);
        w.uint(failed.code as u8);
        w.text(&failed.detail, DETAIL_BYTES_MAX);
        w.array(failed.faults.len().min(FAULTS_MAX));
        for fault in failed.faults.iter().take(FAULTS_MAX) {
            w.array(2);
            w.text(&fault.pointer, FAULT_TEXT_MAX);
            w.text(&fault.message, FAULT_TEXT_MAX);
        }
        w.text_or_nil(failed.dependency.as_deref(), LABEL_BYTES_MAX);
    }
}

fn read_response(body: &[u8]) -> Result<(Response, &[u8]), FrameError> {
    let mut r = Reader::array(body)?;
    let response = Response {
        format: read_format(&mut r, "format")?,
        worker: r
            .or_nil(|r| r.text("worker", LABEL_BYTES_MAX))?
            .map(WorkerId::from_text),
        queued_us: r.int("queued_us")?,
        work_us: r.int("work_us")?,
        failed: match r.has_more() {
            true => r.or_nil(|r| r.nested("failed", read_failed))?,
            false => None,
        },
    };
    Ok((response, r.close()?))
}

fn read_failed(r: &mut Reader<'_>) -> Result<Failed, FrameError> {
    Ok(Failed {
        code: FailureCode::from_code(r.uint("code")?),
        detail: r.text("detail", DETAIL_BYTES_MAX)?.to_owned(),
        faults: r.list("faults", FAULTS_MAX, |fault| {
            Ok(Fault {
                pointer: fault.text("pointer", FAULT_TEXT_MAX)?.to_owned(),
                message: fault.text("message", FAULT_TEXT_MAX)?.to_owned(),
            })
        })?,
        dependency: r
            .or_nil(|r| r.text("dependency", LABEL_BYTES_MAX))?
            .map(str::to_owned),
    })
}

fn write_reject(out: &mut Vec<u8>, reject: &Reject) {
    let mut w = Writer(out);
    w.array(2);
    w.uint(reject.reason as u8);
    w.uint(reject.retry_after_ms);
}

fn read_reject(body: &[u8]) -> Result<(Reject, &[u8]), FrameError> {
    let mut r = Reader::array(body)?;
    let reject = Reject {
        reason: RejectReason::from_code(r.uint("reason")?),
        retry_after_ms: r.int("retry_after_ms")?,
    };
    Ok((reject, r.close()?))
}

fn write_credit(out: &mut Vec<u8>, credit: &Credit) {
    let mut w = Writer(out);
    w.array(2);
    w.uint(credit.generation);
    w.array(credit.grants.len().min(POOLS_MAX));
    for grant in credit.grants.iter().take(POOLS_MAX) {
        w.array(3);
        w.text(grant.pool.as_str(), LABEL_BYTES_MAX);
        w.uint(grant.slots);
        w.uint(grant.workers);
    }
}

fn read_credit(body: &[u8]) -> Result<(Credit, &[u8]), FrameError> {
    let mut r = Reader::array(body)?;
    let credit = Credit {
        generation: r.uint("generation")?,
        grants: r.list("grants", POOLS_MAX, |grant| {
            Ok(Grant {
                pool: read_pool(grant)?,
                slots: grant.int("slots")?,
                workers: grant.int("workers")?,
            })
        })?,
    };
    Ok((credit, r.close()?))
}

fn write_demand(out: &mut Vec<u8>, ping: &Ping) {
    let mut w = Writer(out);
    w.array(1);
    w.array(ping.demand.len().min(POOLS_MAX));
    for demand in ping.demand.iter().take(POOLS_MAX) {
        w.array(3);
        w.text(demand.pool.as_str(), LABEL_BYTES_MAX);
        w.uint(demand.in_flight);
        w.uint(demand.queued);
    }
}

fn read_demand(body: &[u8]) -> Result<(Vec<Demand>, &[u8]), FrameError> {
    let mut r = Reader::array(body)?;
    let demand = r.list("demand", POOLS_MAX, |demand| {
        Ok(Demand {
            pool: read_pool(demand)?,
            in_flight: demand.int("in_flight")?,
            queued: demand.int("queued")?,
        })
    })?;
    Ok((demand, r.close()?))
}
