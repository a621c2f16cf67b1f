//! The two operations of libsecp256k1 that need a context: a public key from a private one, and signing. One context a
//! thread, blinded when it is made and after every [`USES_PER_BLINDING`] uses: the crate's own global context blinds itself
//! around every use, which costs as much again. A nonce (RFC 6979) takes 22 blocks of SHA-256, which the library works on in
//! portable C: they are left to `sha2`, for the same nonces. Why it is sound: every call gets a context that a `Secp256k1`
//! owns and keeps alive, of a type made for signing; inputs from types that hold what the header asks for (a checked private
//! key and a digest, 32 bytes each); and an output of the header's size, read once the library says that it wrote it.

#![expect(
    unsafe_code,
    reason = "the safe interface blinds the context around each use, and hashes nonces in portable C: that doubles the cost"
)]

use std::{cell::RefCell, slice};

use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};
use secp256k1::{
    Message, PublicKey, Secp256k1, SecretKey, SignOnly,
    ecdsa::RecoverableSignature,
    ffi::{self, CPtr, recovery},
};
use sha2::block_api::compress256;
use zeroize::Zeroizing;

/// How often a context is used before it is blinded anew: that costs 24 µs, so 0.1 µs a use. Blinding hides the key from
/// whoever measures power or time; the library's operations take constant time without it.
const USES_PER_BLINDING: u32 = 256;

thread_local! {
    static CONTEXT: RefCell<Blinded> = RefCell::new(Blinded::new());
}

/// A context and how often it may be used as it is.
struct Blinded {
    context: Secp256k1<SignOnly>,
    uses_left: u32,
}

impl Blinded {
    fn new() -> Self {
        Self::with(compress)
    }

    /// With what works on blocks of SHA-256.
    fn with(compress: Compress) -> Self {
        let context = Secp256k1::signing_only();
        // SAFETY: nobody else has the context yet, and a function is there as long as the program. The library tries it with
        // hashes that it knows before it takes it, in a millisecond or less.
        unsafe { rustsecp256k1_v0_14_context_set_sha256_compression(context.ctx().as_ptr(), compress) };
        Self { context, uses_left: 0 }
    }

    /// The context for one use.
    fn take(&mut self) -> *const ffi::Context {
        if self.uses_left == 0 {
            let mut seed = Zeroizing::new([0; 32]);
            UnwrapErr(SysRng).fill_bytes(seed.as_mut());
            self.context.seeded_randomize(&seed);
            self.uses_left = USES_PER_BLINDING;
        }
        self.uses_left -= 1;
        self.context.ctx().as_ptr()
    }
}

/// What takes so many blocks of 64 bytes into a state of SHA-256.
type Compress = unsafe extern "C" fn(state: *mut u32, blocks: *const u8, count: usize);

unsafe extern "C" {
    /// Sets what works on blocks of SHA-256 for a context: in the library's header, not yet in the crate's interface. Its name
    /// carries the version of `secp256k1-sys` and is raised with it; the type makes sure that `secp256k1` has the same one.
    fn rustsecp256k1_v0_14_context_set_sha256_compression(
        context: *mut secp256k1_sys::Context,
        compress: Compress,
    );
}

/// By the processor's own instructions where it has them.
unsafe extern "C" fn compress(state: *mut u32, blocks: *const u8, count: usize) {
    // SAFETY: the library gives eight words, and elsewhere `count` blocks of 64 bytes; nobody writes to either meanwhile.
    let (state, blocks) =
        unsafe { (&mut *state.cast::<[u32; 8]>(), slice::from_raw_parts(blocks.cast::<[u8; 64]>(), count)) };
    compress256(state, blocks);
}

/// The public half of `secret`.
pub(crate) fn public_key(secret: &SecretKey) -> PublicKey {
    CONTEXT.with_borrow_mut(|blinded| {
        // SAFETY: all zero is what the library writes over; it is read only after that.
        let mut public = unsafe { ffi::PublicKey::new() };
        // SAFETY: see the head of this file.
        let done =
            unsafe { ffi::secp256k1_ec_pubkey_create(blinded.take(), &raw mut public, secret.as_c_ptr()) };
        assert_eq!(done, 1, "a private key that was checked has a public half");
        PublicKey::from(public)
    })
}

/// A signature of `message` by `secret` (RFC 6979 nonce, low s) that its signer can be recovered from.
pub(crate) fn sign(secret: &SecretKey, message: &Message) -> RecoverableSignature {
    CONTEXT.with_borrow_mut(|blinded| {
        let mut signature = recovery::RecoverableSignature::new();
        // SAFETY: see the head of this file; the nonce function is the library's own and takes no data.
        let done = unsafe {
            recovery::secp256k1_ecdsa_sign_recoverable(
                blinded.take(),
                &raw mut signature,
                message.as_c_ptr(),
                secret.as_c_ptr(),
                ffi::secp256k1_nonce_function_rfc6979,
                std::ptr::null(),
            )
        };
        assert_eq!(done, 1, "a private key that was checked signs any digest");
        RecoverableSignature::from(signature)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Some keys, the first and the last one there are among them.
    fn secrets() -> impl Iterator<Item = SecretKey> {
        let last = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140").unwrap();
        let mut first = [0; 32];
        first[31] = 1;
        let of_bytes = (1..=200u8).map(|byte| [byte; 32]);
        let edges = [first, last.try_into().unwrap()];
        edges.into_iter().chain(of_bytes).map(|bytes| SecretKey::from_secret_bytes(bytes).unwrap())
    }

    #[test]
    fn keys_and_signatures_are_those_of_the_safe_interface() {
        // More uses than one blinding lasts for, so that several are seen.
        for (number, secret) in secrets().enumerate() {
            let message = Message::from_digest([number as u8; 32]);
            assert_eq!(public_key(&secret), PublicKey::from_secret_key(&secret));
            let expected = RecoverableSignature::sign_ecdsa_recoverable(message, &secret);
            assert_eq!(sign(&secret, &message), expected);
            assert_eq!(expected.recover(message), Ok(public_key(&secret)));
        }
    }

    #[test]
    fn the_blocks_of_a_nonce_are_left_to_what_is_set() {
        static BLOCKS: AtomicUsize = AtomicUsize::new(0);
        unsafe extern "C" fn counted(state: *mut u32, blocks: *const u8, count: usize) {
            BLOCKS.fetch_add(count, Ordering::Relaxed);
            // SAFETY: what the library gives is passed on.
            unsafe { compress(state, blocks, count) };
        }
        let context = CONTEXT.with_borrow_mut(|blinded| std::mem::replace(blinded, Blinded::with(counted)));
        let secret = secrets().next().unwrap();
        CONTEXT.with_borrow_mut(Blinded::take);
        let before = BLOCKS.load(Ordering::Relaxed);
        sign(&secret, &Message::from_digest([7; 32]));
        assert_eq!(BLOCKS.load(Ordering::Relaxed) - before, 22);
        CONTEXT.set(context);
    }

    #[test]
    fn a_context_is_blinded_before_its_first_use_and_again_after_a_number_of_them() {
        let mut blinded = Blinded::new();
        let mut blindings = 0;
        for _ in 0..=2 * USES_PER_BLINDING {
            blindings += u32::from(blinded.uses_left == 0);
            blinded.take();
        }
        assert_eq!(blindings, 3);
    }

    #[test]
    fn every_thread_has_a_context_of_its_own() {
        let secret = secrets().next().unwrap();
        let expected = public_key(&secret);
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(move || public_key(&secret))).collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == expected));
    }
}
