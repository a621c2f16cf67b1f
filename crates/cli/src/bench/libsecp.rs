//! The floor of all work on the curve: the C functions of libsecp256k1 on a plain context, with nothing checked, blinded
//! or copied around them, and the SHA-256 of nonces left to `sha2`. For measures alone: the keys are constants. Why it is
//! sound: A `PlainContext` owns its context from `new` to `drop`, and no other code sees the pointer. Every other pointer to
//! data comes from a reference to a value of the size that the function's header names, and is not kept by it. Functions that
//! take a parsed key or signature get one that `new` has had the library write.

#![expect(
    unsafe_code,
    reason = "the safe interface does more than the C functions, and this is what it is held against"
)]

use std::{collections::VecDeque, ffi::c_void, hint::black_box, ptr, ptr::NonNull, slice};

use secp256k1_sys::{
    self as ffi, Context, PublicKey, SECP256K1_START_SIGN, SECP256K1_START_VERIFY,
    recovery::{RecoverableSignature, secp256k1_ecdsa_recover, secp256k1_ecdsa_sign_recoverable},
    types::{c_int, c_uchar},
};

use sha2::block_api::compress256;

use super::measure::time_each;

const SECRET: [u8; 32] = [7; 32];
const DIGEST: [u8; 32] = [9; 32];
/// Signatures whose signers are recovered in turn. No node sees one twice, and of a few of them a processor learns the way: the
/// one operation here whose steps follow from its input would take a tenth less.
const SIGNED: u16 = 512;

/// What somebody must ask of the curve, in operations of each kind.
pub(super) struct CurveWork {
    pub(super) generations: usize,
    pub(super) agreements: usize,
    pub(super) signatures: usize,
    pub(super) recoveries: usize,
}

/// A context that was never blinded, with a key and a signature to work on.
pub(super) struct PlainContext {
    context: NonNull<Context>,
    public: PublicKey,
    signature: RecoverableSignature,
    /// Digests and their signatures, the next one first.
    signed: VecDeque<([u8; 32], RecoverableSignature)>,
}

impl PlainContext {
    pub(super) fn new() -> Self {
        // SAFETY: the flags are the library's own; a context that cannot be allocated aborts.
        let context = unsafe { ffi::secp256k1_context_create(SECP256K1_START_SIGN | SECP256K1_START_VERIFY) };
        // SAFETY: nobody else has the context yet, and a function is there as long as the program.
        unsafe { rustsecp256k1_v0_14_context_set_sha256_compression(context.as_ptr(), compress) };
        // SAFETY: a zeroed key is only written to before it is read.
        let public = unsafe { PublicKey::new() };
        let mut plain =
            Self { context, public, signature: RecoverableSignature::new(), signed: VecDeque::new() };
        plain.generate();
        for number in 0..SIGNED {
            let mut digest = DIGEST;
            digest[..2].copy_from_slice(&number.to_be_bytes());
            plain.sign_digest(&digest);
            plain.signed.push_back((digest, plain.signature));
        }
        plain
    }

    /// How many nanoseconds `work` takes, done so many times.
    pub(super) fn time_each(&mut self, times: usize, work: &CurveWork) -> f64 {
        time_each(times, || {
            for _ in 0..times {
                (0..work.generations).for_each(|_| self.generate());
                (0..work.agreements).for_each(|_| self.agree());
                (0..work.signatures).for_each(|_| self.sign());
                (0..work.recoveries).for_each(|_| self.recover());
            }
        })
    }

    /// A public key from a private one.
    fn generate(&mut self) {
        let secret = black_box(&SECRET).as_ptr();
        // SAFETY: `public` is a key's size, `secret` 32 bytes.
        let done =
            unsafe { ffi::secp256k1_ec_pubkey_create(self.context.as_ptr(), &raw mut self.public, secret) };
        assert_eq!(done, 1);
    }

    /// A shared point.
    fn agree(&mut self) {
        let (mut x, secret) = ([0u8; 32], black_box(&SECRET).as_ptr());
        // SAFETY: `copy_x` writes the 32 bytes of `x`; `public` was written by `generate`; `secret` has 32 bytes.
        let done = unsafe {
            ffi::secp256k1_ecdh(
                self.context.as_ptr(),
                x.as_mut_ptr(),
                &raw const self.public,
                secret,
                Some(copy_x),
                ptr::null_mut(),
            )
        };
        black_box(x);
        assert_eq!(done, 1);
    }

    /// A signature that its signer can be recovered from.
    pub(super) fn sign(&mut self) {
        self.sign_digest(black_box(&DIGEST));
    }

    fn sign_digest(&mut self, digest: &[u8; 32]) {
        let (digest, secret) = (digest.as_ptr(), black_box(&SECRET).as_ptr());
        // SAFETY: `signature` is a signature's size, `digest` and `secret` are 32 bytes; without a nonce function the
        // library takes its own, which needs no data.
        let done = unsafe {
            secp256k1_ecdsa_sign_recoverable(
                self.context.as_ptr(),
                &raw mut self.signature,
                digest,
                secret,
                ffi::secp256k1_nonce_function_rfc6979,
                ptr::null(),
            )
        };
        assert_eq!(done, 1);
    }

    /// The signer of the next signature.
    pub(super) fn recover(&mut self) {
        self.signed.rotate_left(1);
        let (digest, signature) = self.signed.front().expect("they were made at the start");
        let digest = digest.as_ptr();
        // SAFETY: `public` is a key's size, `signature` was written by `sign_digest`, `digest` is 32 bytes.
        let done = unsafe {
            secp256k1_ecdsa_recover(self.context.as_ptr(), &raw mut self.public, signature, digest)
        };
        assert_eq!(done, 1);
    }
}

impl Drop for PlainContext {
    fn drop(&mut self) {
        // SAFETY: `secp256k1_context_create` made it, and nobody uses it after this.
        unsafe { ffi::secp256k1_context_destroy(self.context) };
    }
}

unsafe extern "C" {
    /// In the library's header, and not in the crate.
    fn rustsecp256k1_v0_14_context_set_sha256_compression(
        context: *mut Context,
        compress: unsafe extern "C" fn(state: *mut u32, blocks: *const u8, count: usize),
    );
}

/// Takes blocks into a state of SHA-256.
unsafe extern "C" fn compress(state: *mut u32, blocks: *const u8, count: usize) {
    // SAFETY: the library gives eight words, and elsewhere `count` blocks of 64 bytes; nobody writes to either meanwhile.
    let (state, blocks) =
        unsafe { (&mut *state.cast::<[u32; 8]>(), slice::from_raw_parts(blocks.cast::<[u8; 64]>(), count)) };
    compress256(state, blocks);
}

/// Takes the x coordinate as the secret: what RLPx calls the agreement.
unsafe extern "C" fn copy_x(
    output: *mut c_uchar,
    x: *const c_uchar,
    _: *const c_uchar,
    _: *mut c_void,
) -> c_int {
    // SAFETY: `x` is 32 bytes by the library's word, `output` by `agree`'s; they do not overlap.
    unsafe { ptr::copy_nonoverlapping(x, output, SECRET.len()) };
    1
}

#[cfg(test)]
mod tests {
    use devp2p::identity::NodeKey;

    use super::*;

    #[test]
    fn its_keys_are_those_of_the_safe_interface() {
        let mut plain = PlainContext::new();
        plain.agree();
        plain.recover();
        let mut bytes = [0; 65];
        let mut len = bytes.len();
        // SAFETY: `bytes` has the 65 bytes of an uncompressed key, and `len` says so.
        unsafe {
            ffi::secp256k1_ec_pubkey_serialize(
                plain.context.as_ptr(),
                bytes.as_mut_ptr(),
                &raw mut len,
                &raw const plain.public,
                ffi::SECP256K1_SER_UNCOMPRESSED,
            );
        }
        let key = NodeKey::from_bytes(&SECRET).unwrap();
        assert_eq!((len, &bytes[1..]), (65, &key.public_key().as_bytes()[..]));
    }
}
