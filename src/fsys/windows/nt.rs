//! Windows' own calls, each behind a safe function of one purpose. Names are
//! given relative to an open folder and exactly as they are: no length limit,
//! no reserved names, no dot or space dropped at the end.
#![allow(unsafe_code)]

use std::ffi::{OsStr, OsString, c_void};
use std::io;
use std::mem::size_of;
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::windows::io::{AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle};
use std::path::{Component, Path, PathBuf, Prefix};
use std::ptr::{null, null_mut};

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem as wdk;
use windows_sys::Wdk::System::SystemServices::FILE_FS_FULL_SIZE_INFORMATION;
use windows_sys::Win32::Foundation::{
    HANDLE, NTSTATUS, OBJ_CASE_INSENSITIVE, RtlNtStatusToDosError, UNICODE_STRING,
};
use windows_sys::Win32::Storage::FileSystem as fs;
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

/// What may be asked of an open file or folder, and what others may do with
/// it meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub access: u32,
    pub share: u32,
    /// `FILE_OPEN` or `FILE_CREATE`.
    pub disposition: u32,
    /// Besides those that every open has.
    pub options: u32,
}

/// Others may read, write, rename and delete meanwhile.
pub(super) const SHARE_ALL: u32 = fs::FILE_SHARE_READ | fs::FILE_SHARE_WRITE | fs::FILE_SHARE_DELETE;

/// Opens or makes what `name` is in the folder `at`; without a folder the name
/// is a whole one, see [`whole_name`]. A last link is opened itself.
pub(super) fn open(at: Option<BorrowedHandle<'_>>, name: &[u16], ask: Ask) -> io::Result<OwnedHandle> {
    with_name(at, name, |attributes| {
        let mut handle: HANDLE = null_mut();
        let mut said = IO_STATUS_BLOCK::default();
        let options = ask.options
            | wdk::FILE_OPEN_REPARSE_POINT
            | wdk::FILE_OPEN_FOR_BACKUP_INTENT
            | wdk::FILE_SYNCHRONOUS_IO_NONALERT;
        // SAFETY: `attributes` and what it points to live until the call
        // returns, and the other pointers are to local variables.
        let status = unsafe {
            wdk::NtCreateFile(
                &raw mut handle,
                ask.access | fs::SYNCHRONIZE,
                attributes,
                &raw mut said,
                null(),
                fs::FILE_ATTRIBUTE_NORMAL,
                ask.share,
                ask.disposition,
                options,
                null(),
                0,
            )
        };
        check(status)?;
        // SAFETY: the call succeeded, so the handle is open and nobody else's.
        Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
    })
}

/// The attributes of what a whole name stands for, a link not followed.
pub(super) fn attributes_of_name(name: &[u16]) -> io::Result<u32> {
    with_name(None, name, |attributes| {
        let mut info = wdk::FILE_NETWORK_OPEN_INFORMATION::default();
        // SAFETY: as in `open`; `info` is a local variable of the right type.
        check(unsafe { wdk::NtQueryFullAttributesFile(attributes, &raw mut info) })?;
        Ok(info.FileAttributes)
    })
}

/// The attributes with which a folder lists a name; the handle must be of this
/// question's own, since it remembers the name.
pub(super) fn attributes_in_listing(dir: BorrowedHandle<'_>, name: &[u16]) -> io::Result<u32> {
    let mut buffer = vec![0u64; 256];
    let length = u16::try_from(name.len() * 2).map_err(|_| io::ErrorKind::InvalidFilename)?;
    let text = UNICODE_STRING { Length: length, MaximumLength: length, Buffer: name.as_ptr().cast_mut() };
    let mut said = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open; the name and the buffer live until the call
    // returns, and the system writes at most the length that is told.
    check(unsafe {
        wdk::NtQueryDirectoryFile(
            dir.as_raw_handle(),
            null_mut(),
            None,
            null(),
            &raw mut said,
            buffer.as_mut_ptr().cast::<c_void>(),
            size_of_val(buffer.as_slice()) as u32,
            wdk::FileIdBothDirectoryInformation,
            true,
            &raw const text,
            true,
        )
    })?;
    let (listed, _) = entry(&buffer, 0).ok_or(io::ErrorKind::InvalidData)?;
    Ok(listed.attributes)
}

/// Whether this is Wine: its own mark, which Windows does not have.
pub(super) fn is_wine() -> bool {
    use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
    static TOLD: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *TOLD.get_or_init(|| {
        let ntdll: Vec<u16> = "ntdll.dll\0".encode_utf16().collect();
        // SAFETY: both names end with a zero; `ntdll.dll` is in every process.
        unsafe {
            let module = GetModuleHandleW(ntdll.as_ptr());
            !module.is_null() && GetProcAddress(module, c"wine_get_version".as_ptr().cast()).is_some()
        }
    })
}

fn with_name<T>(
    at: Option<BorrowedHandle<'_>>,
    name: &[u16],
    call: impl FnOnce(*const OBJECT_ATTRIBUTES) -> io::Result<T>,
) -> io::Result<T> {
    let too_long = || io::Error::new(io::ErrorKind::InvalidFilename, "the name is too long");
    let bytes = u16::try_from(name.len() * 2).map_err(|_| too_long())?;
    let text = UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: name.as_ptr().cast_mut() };
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: at.map_or(null_mut(), |h| h.as_raw_handle()),
        ObjectName: &raw const text,
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: null(),
        SecurityQualityOfService: null(),
    };
    call(&raw const attributes)
}

/// One name as the system takes it.
pub(super) fn wide(name: &OsStr) -> Vec<u16> {
    name.encode_wide().collect()
}

/// An absolute path as the system's own name for it, nothing normalised.
pub(super) fn whole_name(path: &Path) -> io::Result<Vec<u16>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "it is no path on a drive or a share");
    let mut out: Vec<u16> = r"\??\".encode_utf16().collect();
    let mut parts = path.components();
    match parts.next() {
        Some(Component::Prefix(prefix)) => match prefix.kind() {
            Prefix::Disk(letter) | Prefix::VerbatimDisk(letter) => {
                out.extend([u16::from(letter), u16::from(b':')])
            }
            Prefix::UNC(server, share) | Prefix::VerbatimUNC(server, share) => {
                out.extend(r"UNC\".encode_utf16());
                out.extend(server.encode_wide());
                out.push(u16::from(b'\\'));
                out.extend(share.encode_wide());
            }
            Prefix::Verbatim(_) | Prefix::DeviceNS(_) => return Err(bad()),
        },
        _ => return Err(bad()),
    }
    let mut named = false;
    for part in parts {
        match part {
            Component::RootDir => {}
            Component::Normal(name) => {
                out.push(u16::from(b'\\'));
                out.extend(name.encode_wide());
                named = true;
            }
            _ => return Err(bad()),
        }
    }
    if !named {
        out.push(u16::from(b'\\'));
    }
    Ok(out)
}

/// What the system says of an open file or folder.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub by_handle: fs::BY_HANDLE_FILE_INFORMATION,
    pub basic: fs::FILE_BASIC_INFO,
    pub allocated: i64,
    /// What kind of link it is; 0 for none.
    pub tag: u32,
}

/// All that is to be known of an open file or folder.
pub(super) fn facts(open: BorrowedHandle<'_>) -> io::Result<Facts> {
    let mut by_handle = fs::BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open, and the pointer is to a local variable.
    done(unsafe { fs::GetFileInformationByHandle(open.as_raw_handle(), &raw mut by_handle) })?;
    let basic: fs::FILE_BASIC_INFO = ask(open, fs::FileBasicInfo)?;
    let standard: fs::FILE_STANDARD_INFO = ask(open, fs::FileStandardInfo)?;
    let tag = if by_handle.dwFileAttributes & fs::FILE_ATTRIBUTE_REPARSE_POINT == 0 {
        0
    } else {
        ask::<fs::FILE_ATTRIBUTE_TAG_INFO>(open, fs::FileAttributeTagInfo)?.ReparseTag
    };
    Ok(Facts { by_handle, basic, allocated: standard.AllocationSize, tag })
}

/// Information of a fixed size; `T` must be what the class is documented to give.
fn ask<T: Default + Copy>(open: BorrowedHandle<'_>, class: i32) -> io::Result<T> {
    let mut info = T::default();
    let len = size_of::<T>() as u32;
    // SAFETY: the handle is open; the system writes at most `len` bytes of
    // plain integers, for which every bit pattern is valid.
    done(unsafe {
        fs::GetFileInformationByHandleEx(open.as_raw_handle(), class, (&raw mut info).cast::<c_void>(), len)
    })?;
    Ok(info)
}

/// Sets times (in the system's count; 0 leaves one as it is) and attributes
/// (0 leaves them).
pub(super) fn set_basic(open: BorrowedHandle<'_>, info: &fs::FILE_BASIC_INFO) -> io::Result<()> {
    let len = size_of::<fs::FILE_BASIC_INFO>() as u32;
    // SAFETY: the handle is open and `info` is what the class asks for.
    done(unsafe {
        fs::SetFileInformationByHandle(
            open.as_raw_handle(),
            fs::FileBasicInfo,
            std::ptr::from_ref(info).cast::<c_void>(),
            len,
        )
    })
}

/// One entry of a listing.
pub(super) struct Listed {
    pub name: OsString,
    pub attributes: u32,
    pub tag: u32,
    pub size: i64,
    pub allocated: i64,
    pub index: i64,
    /// Creation, access, modification, status change; the system's count.
    pub times: [i64; 4],
}

/// How many bytes of entries the system is asked for at once.
const LISTING_BUFFER: usize = 64 * 1024;

/// The entries of a folder, from the first one on; the handle must be of this
/// listing's own, since it remembers how far it came.
pub(super) fn list(dir: BorrowedHandle<'_>, mut each: impl FnMut(Listed)) -> io::Result<()> {
    // The entries begin at multiples of eight.
    let mut buffer = vec![0u64; LISTING_BUFFER / 8];
    let mut class = fs::FileIdBothDirectoryRestartInfo;
    loop {
        // SAFETY: the handle is open; the system writes at most the length of
        // the buffer, of plain integers.
        let read = done(unsafe {
            fs::GetFileInformationByHandleEx(
                dir.as_raw_handle(),
                class,
                buffer.as_mut_ptr().cast::<c_void>(),
                LISTING_BUFFER as u32,
            )
        });
        match read {
            Ok(()) => {}
            // No more files; none at all on the top of an empty drive.
            Err(e) if matches!(e.raw_os_error(), Some(18)) => return Ok(()),
            Err(e) if class == fs::FileIdBothDirectoryRestartInfo && e.raw_os_error() == Some(2) => {
                return Ok(());
            }
            Err(e) => return Err(e),
        }
        class = fs::FileIdBothDirectoryInfo;
        let mut at = 0;
        loop {
            let (listed, next) = entry(&buffer, at)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the listing is malformed"))?;
            if listed.name != "." && listed.name != ".." {
                each(listed);
            }
            if next == 0 {
                break;
            }
            at += next;
        }
    }
}

/// The entry at a byte offset of a listing, and how far the next one is.
fn entry(buffer: &[u64], at: usize) -> Option<(Listed, usize)> {
    type Info = fs::FILE_ID_BOTH_DIR_INFO;
    let whole = size_of_val(buffer);
    if !at.is_multiple_of(8) || at.checked_add(size_of::<Info>())? > whole {
        return None;
    }
    // SAFETY: the entry lies wholly inside the buffer, at a multiple of eight,
    // and consists of plain integers.
    let info = unsafe { buffer.as_ptr().cast::<u8>().add(at).cast::<Info>().read() };
    let from = at + std::mem::offset_of!(Info, FileName);
    let len = info.FileNameLength as usize;
    if from.checked_add(len)? > whole {
        return None;
    }
    // SAFETY: the name lies wholly inside the buffer, at a multiple of two.
    let name =
        unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>().add(from).cast::<u16>(), len / 2) };
    let is_link = info.FileAttributes & fs::FILE_ATTRIBUTE_REPARSE_POINT != 0;
    let listed = Listed {
        name: OsString::from_wide(name),
        attributes: info.FileAttributes,
        // Where a link has no extended attributes the field holds its kind.
        tag: if is_link { info.EaSize } else { 0 },
        size: info.EndOfFile,
        allocated: info.AllocationSize,
        index: info.FileId,
        times: [info.CreationTime, info.LastAccessTime, info.LastWriteTime, info.ChangeTime],
    };
    Some((listed, info.NextEntryOffset as usize))
}

/// Gives an open file or folder another name in an open folder.
pub(super) fn rename(
    open: BorrowedHandle<'_>,
    dir: BorrowedHandle<'_>,
    name: &[u16],
    over: bool,
) -> io::Result<()> {
    if over {
        let flags = wdk::FILE_RENAME_REPLACE_IF_EXISTS
            | wdk::FILE_RENAME_POSIX_SEMANTICS
            | wdk::FILE_RENAME_IGNORE_READONLY_ATTRIBUTE;
        match set_name(open, dir, name, flags, wdk::FileRenameInformationEx) {
            Err(e) if unknown(&e) => {}
            other => return other,
        }
    }
    set_name(open, dir, name, u32::from(over), wdk::FileRenameInformation)
}

fn set_name(
    open: BorrowedHandle<'_>,
    dir: BorrowedHandle<'_>,
    name: &[u16],
    flags: u32,
    class: i32,
) -> io::Result<()> {
    type Info = wdk::FILE_RENAME_INFORMATION;
    let from = std::mem::offset_of!(Info, FileName);
    let len = (from + name.len() * 2).max(size_of::<Info>());
    let mut buffer = vec![0u64; len.div_ceil(8)];
    let head = Info {
        Anonymous: wdk::FILE_RENAME_INFORMATION_0 { Flags: flags },
        RootDirectory: dir.as_raw_handle(),
        FileNameLength: (name.len() * 2) as u32,
        FileName: [0],
    };
    let mut said = IO_STATUS_BLOCK::default();
    // SAFETY: the buffer has room for the head and the name behind it, aligned
    // for both; the handles are open until the call returns.
    let status = unsafe {
        buffer.as_mut_ptr().cast::<Info>().write(head);
        let to = buffer.as_mut_ptr().cast::<u8>().add(from).cast::<u16>();
        std::ptr::copy_nonoverlapping(name.as_ptr(), to, name.len());
        wdk::NtSetInformationFile(
            open.as_raw_handle(),
            &raw mut said,
            buffer.as_ptr().cast::<c_void>(),
            len as u32,
            class,
        )
    };
    check(status)
}

/// Deletes what is open for that: a file's name is gone at once where the
/// system can do that, else when the last handle is closed.
pub(super) fn delete(open: BorrowedHandle<'_>) -> io::Result<()> {
    let now = wdk::FILE_DISPOSITION_INFORMATION_EX {
        Flags: wdk::FILE_DISPOSITION_DELETE
            | wdk::FILE_DISPOSITION_POSIX_SEMANTICS
            | wdk::FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE,
    };
    match set_info(open, &now, wdk::FileDispositionInformationEx) {
        Err(e) if unknown(&e) => {}
        other => return other,
    }
    let facts = facts(open)?;
    let attributes = facts.by_handle.dwFileAttributes;
    if attributes & fs::FILE_ATTRIBUTE_READONLY != 0 {
        let plain = (attributes & !fs::FILE_ATTRIBUTE_READONLY) | fs::FILE_ATTRIBUTE_NORMAL;
        set_basic(open, &fs::FILE_BASIC_INFO { FileAttributes: plain, ..Default::default() })?;
    }
    let gone = set_info(
        open,
        &wdk::FILE_DISPOSITION_INFORMATION { DeleteFile: true },
        wdk::FileDispositionInformation,
    );
    if gone.is_err() && attributes & fs::FILE_ATTRIBUTE_READONLY != 0 {
        // It stays as it was.
        set_basic(open, &fs::FILE_BASIC_INFO { FileAttributes: attributes, ..Default::default() })?;
    }
    gone
}

fn set_info<T>(open: BorrowedHandle<'_>, info: &T, class: i32) -> io::Result<()> {
    let mut said = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open, and `info` is of the size that is told.
    check(unsafe {
        wdk::NtSetInformationFile(
            open.as_raw_handle(),
            &raw mut said,
            std::ptr::from_ref(info).cast::<c_void>(),
            size_of::<T>() as u32,
            class,
        )
    })
}

/// Whether the system, or the file system, does not know what it was asked:
/// `ERROR_INVALID_FUNCTION`, `ERROR_NOT_SUPPORTED`, `ERROR_INVALID_PARAMETER`,
/// `ERROR_CALL_NOT_IMPLEMENTED`.
fn unknown(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(1 | 50 | 87 | 120))
}

/// Makes what was written through an open file or folder durable.
pub(super) fn flush(open: BorrowedHandle<'_>) -> io::Result<()> {
    let mut said = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open, and the pointer is to a local variable.
    check(unsafe { wdk::NtFlushBuffersFile(open.as_raw_handle(), &raw mut said) })
}

/// Bytes that this user may still write, bytes in all, and whether the volume
/// is read-only.
pub(super) fn space(dir: BorrowedHandle<'_>) -> io::Result<(u64, u64, bool)> {
    let mut info = FILE_FS_FULL_SIZE_INFORMATION::default();
    let mut said = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open, and the pointers are to local variables of
    // the type and size that are told.
    check(unsafe {
        wdk::NtQueryVolumeInformationFile(
            dir.as_raw_handle(),
            &raw mut said,
            (&raw mut info).cast::<c_void>(),
            size_of::<FILE_FS_FULL_SIZE_INFORMATION>() as u32,
            wdk::FileFsFullSizeInformation,
        )
    })?;
    let unit = u64::from(info.SectorsPerAllocationUnit) * u64::from(info.BytesPerSector);
    let bytes = |units: i64| u64::try_from(units).unwrap_or(0).saturating_mul(unit);
    let mut flags = 0;
    // SAFETY: the handle is open; what is not asked for is null, with length 0.
    let told = unsafe {
        fs::GetVolumeInformationByHandleW(
            dir.as_raw_handle(),
            null_mut(),
            0,
            null_mut(),
            null_mut(),
            &raw mut flags,
            null_mut(),
            0,
        )
    };
    let read_only = told != 0 && flags & READ_ONLY_VOLUME != 0;
    Ok((bytes(info.CallerAvailableAllocationUnits), bytes(info.TotalAllocationUnits), read_only))
}

/// `FILE_READ_ONLY_VOLUME` (Microsoft, "GetVolumeInformationByHandleW").
const READ_ONLY_VOLUME: u32 = 0x0008_0000;

/// Where an open file or folder is, links resolved.
pub(super) fn final_path(open: BorrowedHandle<'_>) -> io::Result<PathBuf> {
    let mut buffer = vec![0u16; 1024];
    loop {
        // SAFETY: the handle is open, and the buffer has the length that is told.
        let len = unsafe {
            fs::GetFinalPathNameByHandleW(
                open.as_raw_handle(),
                buffer.as_mut_ptr(),
                buffer.len() as u32,
                fs::FILE_NAME_NORMALIZED,
            )
        } as usize;
        if len == 0 {
            return Err(io::Error::last_os_error());
        }
        match buffer.get(..len) {
            Some(path) => return Ok(PathBuf::from(OsString::from_wide(path))),
            // Too short: `len` is what is needed.
            None => buffer.resize(len + 1, 0),
        }
    }
}

fn done(succeeded: i32) -> io::Result<()> {
    if succeeded == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn check(status: NTSTATUS) -> io::Result<()> {
    if status >= 0 {
        return Ok(());
    }
    // SAFETY: a pure function of the number.
    let code = unsafe { RtlNtStatusToDosError(status) };
    Err(io::Error::from_raw_os_error(code as i32))
}
